"""The first stage: build the neurons and their connections, block by block."""
