"""Attribution: a score for every MLP neuron of a query (eq. 1-5), and the tables of one query and of N (eq. 6-7)."""
