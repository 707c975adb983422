"""Which trial may start where, and when: engines, clusters, the queue, and what it takes in all. Pure, no Ray."""
