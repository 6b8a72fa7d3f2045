/* `hippocamp measure`: puts load on a server and tells how it did. */
#ifndef HIPPOCAMP_APP_MEASURE_COMMAND_H
#define HIPPOCAMP_APP_MEASURE_COMMAND_H

/* `arguments` begin behind "measure". Returns the exit status: 1 after a failure, 130 after an interruption. */
int measure_command(int count, char **arguments);

#endif
