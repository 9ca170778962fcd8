"""From settings to a model that answers: fetched, read ahead, loaded, tried."""
