/* `hippocamp simulate`: what size of cache, which tier and which TTL would have saved what, of recorded look-ups. */
#ifndef HIPPOCAMP_APP_SIMULATE_COMMAND_H
#define HIPPOCAMP_APP_SIMULATE_COMMAND_H

/* `arguments` begin behind "simulate". Returns the exit status. */
int simulate_command(int count, char **arguments);

#endif
