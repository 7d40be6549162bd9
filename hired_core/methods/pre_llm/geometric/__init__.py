"""Methods that know where visual tokens are and not what they show; one file each.

The floor that a choice by content, in the rooms beside this one, has to beat.
"""
