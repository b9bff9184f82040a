#!/bin/sh
# nothing yet
