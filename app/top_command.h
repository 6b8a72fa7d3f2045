/* `hippocamp top`: follows servers in a terminal. */
#ifndef HIPPOCAMP_APP_TOP_COMMAND_H
#define HIPPOCAMP_APP_TOP_COMMAND_H

/* `arguments` begin behind "top". Returns the exit status. */
int top_command(int count, char **arguments);

#endif
