/* One HTTP request to a server, for the commands that ask one. Waits for the response. */
#ifndef HIPPOCAMP_APP_ASK_H
#define HIPPOCAMP_APP_ASK_H

#include "base/buf.h"
#include "base/status.h"

struct question {
	const char *url;    /* HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:/PATH */
	const char *method; /* "GET", "POST" */
	const char *target; /* path, from its slash */
	struct bytes body;
	unsigned timeout_s;
};

struct answer {
	int status; /* of HTTP */
	struct buf body;
};

/* The address with "http://" before it, if it has no scheme. Free it. */
char *ask_url(const char *text);

/* The caller frees the body with buf_fini, whatever is returned. The message says why there is no whole response. */
enum status ask(const struct question *question, struct answer *answer, struct error *error);

#endif
