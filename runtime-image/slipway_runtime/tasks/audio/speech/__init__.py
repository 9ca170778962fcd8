"""Kinds of speech recognition models, behind the one adapter of tasks/audio/automatic_speech_recognition.py."""
