//! How RocksDB is set up, and why.

use std::path::{Path, PathBuf};

use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, Options};

use crate::{keys::Family, pending::Full, tables};

const MIB: usize = 1 << 20;

/// What the operator may choose.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The directory that holds everything.
    pub dir: PathBuf,
    /// Partitions of a new store; an existing one keeps its own number.
    pub partitions: u16,
    /// Bytes of the block cache.
    pub cache_bytes: usize,
    /// Index rows gather in memory until there are so many entries, which then become one table of each index; 114,688, which
    /// is what a hash table of 131,072 slots holds. Three times as many may be in memory, at about 100 bytes each, and are
    /// read again at the next opening, at about a microsecond each. One more table is kept empty.
    pub index_entries: usize,
    /// Bytes of frames at which tables are made although there are fewer entries, so that large ones do not delay the next
    /// opening; 64 MiB.
    pub index_bytes: usize,
    /// `false` acknowledges writes before they are on disk, which loses them when the power fails. It exists so that the
    /// tests of durability can be shown to fail.
    pub fsync: bool,
}

impl StoreOptions {
    /// The defaults, for a directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            partitions: 16,
            cache_bytes: 64 * MIB,
            index_entries: 112 << 10,
            index_bytes: 64 * MIB,
            fsync: true,
        }
    }

    pub(crate) fn open_db(&self, path: &Path, recovery: DBRecoveryMode) -> Result<DB, rocksdb::Error> {
        let cache = Cache::new_lru_cache(self.cache_bytes);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_wal_recovery_mode(recovery);
        // Recycled WAL files and point-in-time recovery exclude one another.
        options.set_recycle_log_file_num(0);
        options.set_paranoid_checks(true);
        options.set_max_total_wal_size(256 * MIB as u64);
        options.set_max_background_jobs(2);
        options.set_bytes_per_sync(MIB as u64);
        options.set_keep_log_file_num(4);
        options.set_max_log_file_size(4 * MIB);
        options.set_stats_dump_period_sec(0);
        // There is one writer; what makes concurrent ones safe only costs.
        options.set_allow_concurrent_memtable_write(false);
        options.set_enable_write_thread_adaptive_yield(false);
        let families =
            Family::ALL.map(|family| ColumnFamilyDescriptor::new(family.name(), family_options(family, Some(&cache))));
        DB::open_cf_descriptors(&options, path, families)
    }

    /// For tables that are made outside of the database.
    pub(crate) fn table_options(&self, family: Family) -> Options {
        family_options(family, None)
    }

    pub(crate) fn full(&self) -> Full {
        Full {
            entries: self.index_entries,
            bytes: self.index_bytes,
        }
    }

    /// Compactions wait until recovery has compared the tables on disk with those in use.
    pub(crate) fn allow_compactions(&self, db: &DB) -> Result<(), rocksdb::Error> {
        Family::ALL.iter().try_for_each(|family| {
            db.set_options_cf(
                crate::store::family(db, *family),
                &[("disable_auto_compactions", "false")],
            )
        })
    }
}

fn family_options(family: Family, cache: Option<&Cache>) -> Options {
    let mut table = BlockBasedOptions::default();
    if let Some(cache) = cache {
        table.set_block_cache(cache);
    }
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(6);
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(32 * MIB);
    options.set_max_write_buffer_number(4);
    options.set_level_compaction_dynamic_level_bytes(true);
    // Until `allow_compactions`.
    options.set_disable_auto_compactions(true);
    if tables::INDEXES.contains(&family) {
        // Their rows come as whole tables, which all overlap: merging eight at a time rewrites the next level half as often
        // as merging four, and a look-up asks a few filters more.
        options.set_level_zero_file_num_compaction_trigger(8);
    }
    match family {
        Family::Entry => {
            table.set_block_size(32 << 10);
            options.set_write_buffer_size(64 * MIB);
        }
        // Nearly every look-up is for an operation that is new: a filter answers it. 16 bits, since a wrong yes of one of the
        // tables (8 in 10,000; with 10 bits 1 in 100) costs a block. Ids are hashes, which nothing compresses.
        Family::OpId => {
            table.set_bloom_filter(16.0, false);
            options.set_compression_type(DBCompressionType::None);
        }
        Family::ByDoc | Family::ByPrincipal => {}
        // Already compressed by automerge.
        Family::Snapshot => options.set_compression_type(DBCompressionType::None),
        Family::Meta => options.set_write_buffer_size(MIB),
    }
    options.set_block_based_table_factory(&table);
    options
}
