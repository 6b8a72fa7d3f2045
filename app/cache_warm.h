/* `hippocamp cache warm`: asks a model for each inference of files, so that its answers are cached. */
#ifndef HIPPOCAMP_APP_CACHE_WARM_H
#define HIPPOCAMP_APP_CACHE_WARM_H

/* `arguments` begin behind "warm"; they are those of `hippocamp measure`. Returns the exit status. */
int cache_warm(int count, char **arguments);

#endif
