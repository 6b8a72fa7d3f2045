/*
 * `hippocamp cache ls|show|purge`: shows what the cache of a running server holds and saves, and removes entries, by
 * GET /v2/cache and POST /v2/cache/purge.
 */
#ifndef HIPPOCAMP_APP_CACHE_COMMAND_H
#define HIPPOCAMP_APP_CACHE_COMMAND_H

/* `arguments` are those behind `cache`. Returns the exit status: 0, or 1 and says why. */
int cache_command(int count, char **arguments);

#endif
