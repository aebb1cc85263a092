// The licences of what others wrote and a package contains: npm packages in the bundle, crates in the addon.
//
// Most published archives carry the text of their licence as a file, some in their README. For those that carry it
// nowhere a copy from their repository is kept in scripts/licenses. A package without any text is an error, because
// its terms would not travel with it. The result depends on nothing but the versions in the two lock files.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { cargoMetadata } from './cargo.mjs'
import { ROOT } from './setup.mjs'

const LICENSE_FILE = /^(licen[cs]e|unlicense|copying|copyright|notice)([-._].*)?$/i
const LICENSE_HEADING = /^licen[cs]e\b.*$/im

/** Archives without any text of their licence -> the copy kept here. */
const KEPT_TEXTS = { napi: 'napi-rs.txt', 'napi-sys': 'napi-rs.txt' }

/** The notices for the packages whose modules are in the bundle. `moduleIds`: their files. */
export function bundleNotices(moduleIds) {
  const directories = new Set(moduleIds.map(packageDirectory).filter(Boolean))
  const packages = [...directories].map(directory => {
    const { name, version, license } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'))
    return { name, version, license, directory }
  })
  return notices('The command line, dist/main.mjs, contains these packages.', packages)
}

/** The notices for the crates that are linked into the addon for a target triple. */
export function addonNotices(target) {
  const { packages, resolve } = cargoMetadata(target)
  const byId = new Map(packages.map(crate => [crate.id, crate]))
  const dependencies = new Map(resolve.nodes.map(({ id, deps }) => [id, deps]))
  const linked = new Set()
  const visit = id => {
    const compileTimeOnly = byId.get(id).targets.some(({ kind }) => kind.includes('proc-macro'))
    if (linked.has(id) || compileTimeOnly) return
    linked.add(id)
    for (const { pkg, dep_kinds } of dependencies.get(id)) {
      if (dep_kinds.some(({ kind }) => kind === null)) visit(pkg)
    }
  }
  visit(packages.find(({ name }) => name === 'tapferry-node').id)
  const foreign = [...linked].map(id => byId.get(id)).filter(({ source }) => source !== null)
  return notices(
    `The addon contains these crates, and the Rust standard library: MIT OR Apache-2.0, by the Rust Project
contributors; the text of Apache-2.0 is in LICENSE-APACHE.`,
    foreign.map(({ name, version, license, manifest_path }) => {
      return { name, version, license, directory: dirname(manifest_path) }
    }),
  )
}

function notices(introduction, packages) {
  const titled = packages
    .map(entry => ({ ...entry, title: `${entry.name} ${entry.version}, ${entry.license}` }))
    .sort((a, b) => (a.title < b.title ? -1 : 1))
  const titlesByText = new Map()
  for (const entry of titled) {
    for (const text of licenseTexts(entry)) {
      titlesByText.set(text, [...(titlesByText.get(text) ?? []), entry.title])
    }
  }
  const line = '='.repeat(80)
  const sections = [...titlesByText].map(([text, titles]) => `${line}\n${titles.join('\n')}\n\n${text}\n`)
  const list = titled.map(({ title }) => `  ${title}\n`).join('')
  return `Third-party licences\n\n${introduction}\n\n${list}\n${sections.join('\n')}`
}

/** Every text, in the order of the files' names. */
function licenseTexts({ name, version, directory }) {
  const files = readdirSync(directory).filter(file => LICENSE_FILE.test(file))
  const texts = files.sort().map(file => normalized(readFileSync(join(directory, file), 'utf8')))
  if (texts.length > 0) return texts
  const section = licenseSection(join(directory, 'README.md'))
  if (section !== undefined) return [normalized(section)]
  const kept = KEPT_TEXTS[name]
  if (kept !== undefined) return [normalized(readFileSync(`${ROOT}scripts/licenses/${kept}`, 'utf8'))]
  throw new Error(
    `${name} ${version} carries no licence text: keep a copy in scripts/licenses (third-party.mjs)`,
  )
}

/** What a README has under the heading of its licence, out of quotation; undefined when that is no text. */
function licenseSection(readme) {
  if (!existsSync(readme)) return undefined
  const sections = readFileSync(readme, 'utf8').split(/^#+ /m)
  const section = sections.find(text => LICENSE_HEADING.test(text.split('\n', 1)[0]))
  if (section === undefined || !/copyright/i.test(section)) return undefined
  return section.replace(LICENSE_HEADING, '').replace(/^> ?/gm, '')
}

function normalized(text) {
  return text
    .replace(/\r\n?/g, '\n')
    .replace(/[ \t]+$/gm, '')
    .trim()
}

/** The directory of the package that a file in node_modules belongs to; undefined for files of our own. */
function packageDirectory(file) {
  return /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(file)?.[0]
}
