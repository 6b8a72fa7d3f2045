/* `hippocamp health [URL]`: asks a server of the KServe v2 protocol whether it is ready, as a container's check does.
 */
#ifndef HIPPOCAMP_APP_HEALTH_H
#define HIPPOCAMP_APP_HEALTH_H

/* `arguments` are those behind the command. Returns the exit status: 0 if the server is ready, else 1 and says why. */
int health(int count, char **arguments);

#endif
