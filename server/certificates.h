/*
 * The certificates of a listening port, from start to end. Tells the log when they have been read again. Room-private.
 */
#ifndef HIPPOCAMP_SERVER_CERTIFICATES_H
#define HIPPOCAMP_SERVER_CERTIFICATES_H

#include "loop/tls_server.h"

/* Can the files be used? To fail before models are loaded. */
enum status certificates_check(const struct tls_options *options, struct error *error);

/* Sets *tls for connections of the port; NULL where it is plain. Free it with tls_server_free. */
enum status certificates_open(const struct tls_options *options, struct tls_server **tls, struct error *error);

/* Reads the files again: if they have changed, for which call it once a second on one thread; or in any case, on any.
 */
void certificates_follow(struct tls_server *tls, const char *service);
void certificates_reread(struct tls_server *tls, const char *service);

#endif
