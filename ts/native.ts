/**
 * Finds and loads the native addon. The only importer of it.
 *
 * Order: NAPI_RS_NATIVE_LIBRARY_PATH, the addon built in this checkout (beside the bundle), the platform
 * package that npm installs as an optional dependency. Loading is lazy: help, version and usage errors work
 * without an addon, and start faster.
 */

import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import type { Binding } from './binding.ts'
import { TapferryError } from './errors.ts'

const PACKAGE_PREFIX = '@tapferry/binding-'

const require = createRequire(import.meta.url)

/** Loads the addon. Throws ADDON_MISSING, or ADDON_BROKEN when there is one that does not load. */
export function loadBinding(): Binding {
  const override = process.env['NAPI_RS_NATIVE_LIBRARY_PATH']
  if (override) return load(override)

  const triple = platformTriple()
  for (const directory of ['.', '../dist']) {
    const path = fileURLToPath(new URL(`${directory}/tapferry.${triple}.node`, import.meta.url))
    if (existsSync(path)) return load(path)
  }

  const name = PACKAGE_PREFIX + triple
  try {
    return require(name) as Binding
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw broken(name, cause)
    throw new TapferryError(
      'ADDON_MISSING',
      `no native addon for ${triple}: package ${name} is not installed`,
      'in a checkout: npm run build:native; else install tapferry again, without --omit=optional or --no-optional',
      { cause },
    )
  }
}

function load(path: string): Binding {
  try {
    return require(path) as Binding
  } catch (cause) {
    throw broken(path, cause)
  }
}

function broken(what: string, cause: unknown): TapferryError {
  const why = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause)
  return new TapferryError(
    'ADDON_BROKEN',
    `the native addon ${what} does not load on ${platformTriple()}: ${why}`,
    'build it on this machine: npm run build:native',
    { cause },
  )
}

/** Platform, architecture and C library, as in the names of the platform packages. */
function platformTriple(): string {
  return `${process.platform}-${process.arch}-${isGlibc() ? 'gnu' : 'musl'}`
}

function isGlibc(): boolean {
  const report = process.report
  // Without this the report resolves the names of all peers, which may take seconds.
  Object.assign(report, { excludeNetwork: true })
  const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } }
  return header?.glibcVersionRuntime !== undefined
}
