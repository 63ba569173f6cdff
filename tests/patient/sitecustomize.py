"""A routeur that is started with this folder in PYTHONPATH waits long for Redis: its tests are
about what is decided, and others use the machine, too.
"""

from routeur.store import line, redis

redis.PATIENCE = redis.OPERATION = line.CONNECT = 10.0  # seconds
