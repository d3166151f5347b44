"""From what networks answer to cells, labels and files: pure functions of arrays, without networks or data sets."""
