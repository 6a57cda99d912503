"""The episode store on disk, and the samplers that draw from it."""
