/*
 * Reads ZIP archives (PKWARE APPNOTE 6.3), as numpy writes them (*.npz): entries that are stored or deflated, without
 * encryption and ZIP64.
 */
#ifndef HIPPOCAMP_WIRE_ZIP_H
#define HIPPOCAMP_WIRE_ZIP_H

#include "base/arena.h"
#include "base/status.h"

/* An entry of an archive; views into the archive. */
struct zip_entry {
	struct bytes name;
	struct bytes packed;
	uint32_t length; /* of the content */
	bool is_deflated;
};

/* Reads the entry at *place, 0 for the first one. False: there are no more, or what follows is none. */
bool zip_next(struct bytes archive, size_t *place, struct zip_entry *entry);

/* Sets *content: a view into the archive, or into the arena. */
enum status zip_content(const struct zip_entry *entry, struct arena *arena, struct bytes *content, struct error *error);

#endif
