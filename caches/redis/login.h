/*
 * Logging in: HELLO 3 with the user's name and password, or, where the server does not know it, AUTH; the connection's
 * name, the database, and a first question that shows whether the server serves. Belongs to one connection.
 *
 * https://redis.io/docs/latest/commands/hello/ and client-setinfo/
 */
#ifndef HIPPOCAMP_CACHES_REDIS_LOGIN_H
#define HIPPOCAMP_CACHES_REDIS_LOGIN_H

#include "caches/redis/connection.h"

struct redis_login;

struct redis_login *redis_login_new(struct redis_connection *connection,
				    const struct redis_connection_options *options);
void redis_login_free(struct redis_login *login); /* after the connection's requests are answered */

/* What is to be said; "" or NULL: nothing. False without memory. */
bool redis_login_credentials(struct redis_login *login, const char *user, const char *password);

/* Ends in redis_connection_logged_in or redis_connection_fail. Once. */
void redis_login_start(struct redis_login *login);

#endif
