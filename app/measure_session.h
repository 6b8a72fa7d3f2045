/* What the commands share that send requests to one model: the connection, the model, its inputs. */
#ifndef HIPPOCAMP_APP_MEASURE_SESSION_H
#define HIPPOCAMP_APP_MEASURE_SESSION_H

#include "app/interruption.h"
#include "app/measure_options.h"
#include "measure/target.h"

struct measure_session {
	struct measure_settings settings;
	struct loop *loop;
	struct target target;
	struct input_set *inputs;
	struct replay *replay; /* NULL: none is given */
	bool is_timed;	       /* at the times of `replay` */
	double recorded_share; /* of the questions of `replay`'s server */
	size_t skipped;	       /* lines of its records that could not be read */
	struct request_form form;
	struct interruption interruption;
	struct measurement *measurements;
	size_t count;
};

/* `session` is zero but for its settings. Call measure_session_close in any case. */
enum status measure_session_open(struct measure_session *session, struct error *error);
void measure_session_close(struct measure_session *session);

#endif
