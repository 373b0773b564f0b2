"""Stages made of tasks: labelling, evaluation, statistics, translation, pictures."""
