"""Choose what is measured: the sums that multiply with depth, stream by stream."""
