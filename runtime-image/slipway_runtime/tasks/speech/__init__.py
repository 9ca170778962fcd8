"""Kinds of speech recognition models, behind the one adapter of tasks/automatic_speech_recognition.py."""
