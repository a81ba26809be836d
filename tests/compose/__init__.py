"""Tests of the deployment on Docker Compose.

A package, unlike other folders of tests: the one that brings `docker-compose` has the same name.
"""
