/* Commands in RESP, the protocol of Redis. */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_COMMAND_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_COMMAND_H

#include "base/buf.h"

static inline void
command_append(struct buf *command, struct bytes word)
{
	buf_byte(command, '$');
	buf_unsigned(command, word.length);
	buf_text(command, "\r\n");
	buf_append(command, word);
	buf_text(command, "\r\n");
}

#endif
