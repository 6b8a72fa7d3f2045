/* The lines that `hippocamp top` shows. */
#ifndef HIPPOCAMP_APP_TOP_TABLE_H
#define HIPPOCAMP_APP_TOP_TABLE_H

#include "app/watch.h"
#include "base/buf.h"

/* Appends lines: a head and one for each server, then a head and one for each model, over all servers. */
void top_table_write(const struct watched_server *servers, size_t count, struct buf *out);

#endif
