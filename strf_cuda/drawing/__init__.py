"""Pictures of what a model attends to, from arrays alone: nothing here knows a model or a data set."""
