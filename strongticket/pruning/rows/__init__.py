"""Row-wise optimal brain surgeon: exact removal orders, budgets across rows, swaps and refits of a linear layer."""
