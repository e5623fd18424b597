"""Pure decisions. Facts and `now` go in, values come out: no clock, no environment, no client, no framework."""
