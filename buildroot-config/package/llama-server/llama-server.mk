################################################################################
#
# llama-server
#
################################################################################

# Nothing of its own: what Buildroot's package builds. `image product` adds its service.
LLAMA_SERVER_DEPENDENCIES = llama-cpp

ifeq ($(BR2_PACKAGE_LLAMA_SERVER),y)
# Without this the program asks for the processor with AVX2 that llama.cpp takes
# for granted, or on ARM uses nothing that is newer than the first of 64 bits.
# check-package disable TypoInPackageVariable
LLAMA_CPP_CONF_OPTS += \
	-DGGML_BACKEND_DIR=/usr/lib/ggml \
	-DGGML_BACKEND_DL=ON \
	-DGGML_CPU_ALL_VARIANTS=ON \
	-DGGML_NATIVE=OFF
endif

define LLAMA_SERVER_INSTALL_TARGET_CMDS
	find $(TARGET_DIR)/usr/bin -name 'llama-*' ! -name llama-server -delete
	rm -f $(TARGET_DIR)/usr/bin/convert_hf_to_gguf.py
endef

$(eval $(generic-package))
