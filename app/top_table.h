/* The lines that `hippocamp top` shows. */
#ifndef HIPPOCAMP_APP_TOP_TABLE_H
#define HIPPOCAMP_APP_TOP_TABLE_H

#include "app/watch.h"
#include "base/buf.h"

/*
 * Appends lines: a head and one for each server, then a head and one for each model, over all servers. Of the servers'
 * columns the less important ones are left out where a line would be longer than `room`.
 */
void top_table_write(const struct watched_server *servers, size_t count, size_t room, struct buf *out);

#endif
