/*
 * A program that is run for a while: a server that is measured. It ends with this process, however that ends.
 */
#ifndef HIPPOCAMP_MEASURE_PROCESS_H
#define HIPPOCAMP_MEASURE_PROCESS_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

struct process;

/*
 * Starts `arguments`, which end with NULL; the first is a path, or a name that PATH has. What it prints goes to the
 * file `log` in `folder`, and so do its temporary files.
 */
struct process *process_start(const char *const *arguments, const char *folder, const char *log, struct error *error);

bool process_is_running(struct process *process);

/* Asks it to end, and waits; after some seconds it is killed. NULL: none. */
void process_stop(struct process *process);

/* Copies the last line that it has printed, for messages. */
void process_last_words(const struct process *process, char *text, size_t size);

/* Chooses ports of 127.0.0.1 that nobody uses at the moment. */
enum status process_free_ports(uint16_t *ports, size_t count, struct error *error);

#endif
