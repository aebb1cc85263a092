/**
 * Finds and loads the native addon. The only importer of it.
 *
 * Order: NAPI_RS_NATIVE_LIBRARY_PATH, the addon built in this checkout (beside the bundle), the platform
 * package that npm installs as an optional dependency. Loading is lazy: help, version and usage errors work
 * without an addon, and start faster.
 */

import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import {
  addonBroken,
  addonMissing,
  addonOfOtherVersion,
  addonPackage,
  type InstalledManifest,
  platformTriple,
} from './addon.ts'
import type { Binding } from './binding.ts'

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

  return loadPackage(triple)
}

function loadPackage(triple: string): Binding {
  const name = addonPackage(triple)
  const manifest = installedManifest()
  let binding: Binding
  try {
    binding = require(name) as Binding
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw addonBroken(name, cause)
    throw addonMissing(triple, manifest, cause)
  }
  const version = binding.version()
  if (manifest.version !== undefined && version !== manifest.version) {
    throw addonOfOtherVersion(name, version, manifest.version)
  }
  return binding
}

function load(path: string): Binding {
  try {
    return require(path) as Binding
  } catch (cause) {
    throw addonBroken(path, cause)
  }
}

/** The package.json beside dist/; an incomplete copy may have none. */
function installedManifest(): InstalledManifest {
  try {
    return JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as InstalledManifest
  } catch {
    return {}
  }
}
