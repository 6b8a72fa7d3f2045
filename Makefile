# The front door; the build itself is Meson's. Everything that is needed is fetched by tools/deps.

PREFIX ?= /usr/local
CACHE ?= local
VENV := .deps/venv/bin

.PHONY: build sanitize models serve demo check unit bench fuzz format tidy install clean

build: build/hippocamp

build/hippocamp: FORCE
	@tools/deps build
	@mkdir -p build
	@test -f build/release/build.ninja || meson setup build/release --buildtype=release -Dtests=false --prefix=$(PREFIX) >build/meson.log 2>&1 || { cat build/meson.log; exit 1; }
	@ninja -C build/release --quiet
	@ln -sf release/hippocamp build/hippocamp

# The developers' build: address and undefined-behaviour sanitizers, unit tests, replayed fuzz corpora.
sanitize:
	@tools/deps check
	@mkdir -p build
	@test -f build/sanitize/build.ninja || meson setup build/sanitize -Db_sanitize=address,undefined -Db_lundef=false >build/meson.log 2>&1 || { cat build/meson.log; exit 1; }
	@ninja -C build/sanitize --quiet

models:
	@tools/deps check
	@tools/models build/models

serve: build models
	build/hippocamp serve --model-repository=build/models

demo: build models
	@$(VENV)/python tools/demo --cache=$(CACHE)

unit: sanitize
	@meson test -C build/sanitize --no-rebuild --print-errorlogs

check: build sanitize
	@tools/check

bench: build models
	@tools/deps bench
	@bench/versus_triton --output docs/benchmarks.md

# One minute for each decoder of outside bytes; new inputs go into tests/fuzz/corpus.
fuzz:
	@tools/deps build develop
	@tools/fuzz

format:
	@tools/deps develop
	@clang-format -i $$(git ls-files '*.c' '*.h')

tidy:
	@tools/deps build develop
	@tools/tidy

install: build
	@meson configure build/release --prefix=$(PREFIX) >/dev/null
	@meson install -C build/release --quiet $(if $(DESTDIR),--destdir $(abspath $(DESTDIR)))

clean:
	rm -rf build

FORCE: ;
