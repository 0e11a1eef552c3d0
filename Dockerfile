# docker build -t latentode . && docker run --rm -v "$PWD:/data" latentode inspect /data/table.csv
FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY latentode latentode
COPY datasets/storms/storms.csv datasets/storms/storms.csv
# Wheels of torch for CPUs: those of the ordinary index bring a gigabyte of CUDA.
RUN python -m venv /opt/latentode \
 && /opt/latentode/bin/pip install --no-cache-dir --constraint constraints.txt \
      --extra-index-url https://download.pytorch.org/whl/cpu ".[plot,parquet,excel]"

FROM python:3.12-slim
COPY --from=build /opt/latentode /opt/latentode
# What is compiled for this machine's processor is kept where anybody may write.
ENV PATH=/opt/latentode/bin:$PATH NUMBA_CACHE_DIR=/tmp/numba MPLCONFIGDIR=/tmp/matplotlib OMP_NUM_THREADS=1
RUN useradd --create-home user
USER user
WORKDIR /data
ENTRYPOINT ["latentode"]
CMD ["--help"]
