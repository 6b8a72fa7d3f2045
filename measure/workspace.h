/*
 * A temporary folder with a model repository that shows another one as it is, but for one model whose configuration
 * asks for the response cache; and beside it a model of our own, the probe, which gives answers of any size.
 */
#ifndef HIPPOCAMP_MEASURE_WORKSPACE_H
#define HIPPOCAMP_MEASURE_WORKSPACE_H

#include "base/status.h"

struct workspace;

/* The probe answers with as many zeros as its input says. */
#define PROBE_MODEL "hippocamp_probe"
#define PROBE_INPUT "COUNT"
#define PROBE_ELEMENT_SIZE 4

/* NULL: the message names the folder, the model and what is wrong. Nothing of `repository` is changed. */
struct workspace *workspace_new(const char *repository, const char *model, struct error *error);

/* Removes the folder and all in it. NULL: none. */
void workspace_free(struct workspace *workspace);

const char *workspace_folder(const struct workspace *workspace);
const char *workspace_repository(const struct workspace *workspace);

/* Writes a file into the folder. Returns its path, which is the caller's to free, or NULL. */
char *workspace_write(const struct workspace *workspace, const char *name, const char *text, struct error *error);

#endif
