/*
 * A record of the live look-ups, for `hippocamp simulate`: which key, how large and how costly its answer, how it was
 * answered; nothing of inputs or answers. A CSV file (RFC 4180), to which a thread of its own appends, so that a slow
 * disk holds up nobody: what it cannot keep up with is left out and counted.
 */
#ifndef HIPPOCAMP_INFERENCE_FETCH_REQUEST_TRACE_H
#define HIPPOCAMP_INFERENCE_FETCH_REQUEST_TRACE_H

#include "inference/fetch/slice.h"

/*
 * Its first line. `key` is hexadecimal, and the same for the same question; `share` is the share of all keys that are
 * recorded.
 */
#define REQUEST_TRACE_HEAD "time_ms,model,version,key,bytes,cost_us,outcome,share\n"

struct request_trace;

/*
 * Opens the file for appending. `share` of all keys are recorded (above 0; 1: all), always the same ones. `lanes` is
 * the number of loops. NULL: the message names the file.
 */
struct request_trace *request_trace_open(const char *path, double share, size_t lanes, struct error *error);

/* Writes what is left and closes the file. No lane uses it any more. NULL: none. */
void request_trace_close(struct request_trace *trace);

/* Of lane number `lane`, on its thread. `asked_ms`: when the request came, by the wall clock. */
void request_trace_add(struct request_trace *trace, size_t lane, const struct slice *slice, uint64_t asked_ms);
void request_trace_flush(struct request_trace *trace, size_t lane); /* hands over what there is to be written */

#endif
