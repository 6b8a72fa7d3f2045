/* Ctrl-C and SIGTERM for commands that run for a while: the first one asks to end early, the second one ends the
 * program. */
#ifndef HIPPOCAMP_APP_INTERRUPTION_H
#define HIPPOCAMP_APP_INTERRUPTION_H

#include "loop/loop.h"

#define INTERRUPTION_STATUS 130 /* the exit status that shells expect */

struct interruption {
	bool is_stopped;

	/* Internal. */
	int fd;
	struct loop_watch *watch;
};

/* Blocks both signals for this thread and those that it starts; `interruption` stays where it is until its end. */
enum status interruption_watch(struct interruption *interruption, struct loop *loop, struct error *error);
void interruption_end(struct interruption *interruption); /* also of a zeroed one */

#endif
