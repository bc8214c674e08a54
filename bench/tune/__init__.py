"""`tune`: the settings of the runner that cost no accuracy, searched on the device itself."""
