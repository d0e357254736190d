"""What is counted, and how it is told: as JSON, to Prometheus, and as a page."""
