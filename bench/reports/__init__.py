"""From the ledger to tables and plots."""
