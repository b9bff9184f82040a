$B->force_route(NORTH => '-p tcp --dport 25');
