/* Runs a fuzz target once on each file of the given folders: old findings are tested again without a fuzzer. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define FILE_MAX (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
replay(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *buffer = malloc(FILE_MAX);
	size_t length = file == NULL || buffer == NULL ? 0 : fread(buffer, 1, FILE_MAX, file);
	uint8_t *data = malloc(length == 0 ? 1 : length); /* exactly as long, so that an overrun shows */

	for (size_t i = 0; i < length; i++) {
		data[i] = buffer[i];
	}
	free(buffer);
	(void)LLVMFuzzerTestOneInput(data, length);
	free(data);
	if (file != NULL) {
		(void)fclose(file);
	}
}

int
main(int argc, char **argv)
{
	int count = 0;

	for (int i = 1; i < argc; i++) {
		DIR *folder = opendir(argv[i]);
		struct dirent *item;

		while (folder != NULL && (item = readdir(folder)) != NULL) {
			char path[4096];

			if (item->d_name[0] != '.') {
				(void)snprintf(path, sizeof(path), "%s/%s", argv[i], item->d_name);
				replay(path);
				count++;
			}
		}
		if (folder != NULL) {
			(void)closedir(folder);
		}
	}
	(void)printf("%d inputs\n", count);
	return count == 0;
}
