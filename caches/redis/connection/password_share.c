#include "caches/redis/connection/password_share.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct password_share *
password_share_new(void)
{
	struct password_share *share = calloc(1, sizeof(*share));

	if (share != NULL) {
		(void)pthread_mutex_init(&share->lock, NULL);
	}
	return share;
}

void
password_share_free(struct password_share *share)
{
	if (share != NULL) {
		(void)pthread_mutex_destroy(&share->lock);
		explicit_bzero(share, sizeof(*share));
		free(share);
	}
}

enum password_share_turn
password_share_take(struct password_share *share, uint64_t now_ns, uint64_t fresh_ns, char *text, char *failure)
{
	enum password_share_turn turn = PASSWORD_SHARE_RUN;

	(void)pthread_mutex_lock(&share->lock);
	/* Threads may read the clock and take the lock in different orders: the result may be newer than `now_ns`. */
	if (share->came_ns != 0 && (int64_t)(now_ns - share->came_ns) <= (int64_t)fresh_ns) {
		memcpy(text, share->text, strlen(share->text) + 1);
		memcpy(failure, share->failure, sizeof(share->failure));
		turn = PASSWORD_SHARE_RESULT;
	} else if (share->running) {
		turn = PASSWORD_SHARE_WAIT;
	} else {
		share->running = true;
	}
	(void)pthread_mutex_unlock(&share->lock);
	return turn;
}

void
password_share_end(struct password_share *share, uint64_t now_ns, const char *text, const char *failure)
{
	(void)pthread_mutex_lock(&share->lock);
	share->running = false;
	explicit_bzero(share->text, sizeof(share->text));
	share->came_ns = 0;
	if (text != NULL || failure != NULL) {
		(void)snprintf(share->text, sizeof(share->text), "%s", text == NULL ? "" : text);
		(void)snprintf(share->failure, sizeof(share->failure), "%s", failure == NULL ? "" : failure);
		share->came_ns = now_ns;
	}
	(void)pthread_mutex_unlock(&share->lock);
}
