"""nib-monitor: watches the uplinks and flips nft maps and route weights.  Reads only plan.json."""
