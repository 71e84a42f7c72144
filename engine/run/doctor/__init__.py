"""`engine doctor`: proves what is in force, check by check.

Every check stands for itself: whatever breaks one of them becomes its line, and those that need it are skipped.
"""

from engine.run.doctor.check import Check
from engine.run.doctor.examine import Subject, examine

__all__ = ["Check", "Subject", "examine"]
