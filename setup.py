"""The packages of the wheel: every folder below concept_ppl, models, analyses with a door; data."""

from setuptools import find_packages, setup

BESIDE = ("models", "analyses")
"""Folders that are installed under ``concept_ppl``; ``pyproject.toml`` says so."""

setup(
    packages=[
        *find_packages(include=["concept_ppl", "concept_ppl.*"]),
        *(
            f"concept_ppl.{package}"
            for folder in BESIDE
            for package in find_packages(include=[folder, f"{folder}.*"])
        ),
        "concept_ppl.data",
    ]
)
